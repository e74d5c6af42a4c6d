"""A federation from readings to report: a config becomes plans of values, and steps carry them out.

Here no word is said to people: steps return values and tell an observer what goes on. The command line shows that.
"""
