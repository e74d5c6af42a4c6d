"""Layouts of meter data as it is published and exported: what each declares, and how its files become rows."""
