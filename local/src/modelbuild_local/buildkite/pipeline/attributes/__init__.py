"""The rules of single attributes of steps.

``values`` converts the forms that Buildkite accepts to one form, ``retry`` decides on automatic retries,
``matrix`` lists combinations, ``condition`` evaluates ``if``, ``branches`` matches branch patterns, and
``patterns`` runs users' regular expressions.
"""
