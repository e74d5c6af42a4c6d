"""Federated learning itself: numpy at the core, torch only where a model trains. Imports nothing else of NeuroGrid."""
