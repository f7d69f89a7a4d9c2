"""A stand-in for Weights & Biases on one machine: what its SDK writes and reads, and a page for each run.

Runs live in memory, the files they upload in a folder. Everything happens on one event loop, so the
state needs no locks. Who knows what:

- ``state``: the nouns that live here: Run, Artifact, Collection, and the Store that holds them
- ``files``: uploaded bytes, each under a name that cannot be guessed
- ``answers``: a run or an artifact as the SDK expects it in an answer
- ``runs``, ``artifacts``: the GraphQL operations, each from its variables to its answer
- ``graphql``: finds the operation, and counts those that do not exist
- ``charts``: a metric's history as SVG
- ``page``: what a person sees; ``app`` puts everything together
"""
