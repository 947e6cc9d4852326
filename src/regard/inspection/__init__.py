"""From a model to what it looks at, and to how far that may be believed.

capture       records of any model's attention, whatever kernel it runs with
faithfulness  checks beside a picture: erasing what is looked at, other weights, heads left out
"""
