"""A stand-in for Weights & Biases on one machine: the API of its SDK, and pages of projects and runs.

Runs are kept in memory, and their uploaded files in a folder. The server has one event loop, so the state
needs no locks. The modules:

- ``state``: the data: Run, Artifact, Collection, and the Store that holds them
- ``files``: uploaded bytes, each under a name that cannot be guessed
- ``answers``: a run or an artifact as the SDK expects it in an answer
- ``runs``, ``artifacts``: the GraphQL operations, each from its variables to its answer
- ``graphql``: finds the operation, and counts those that do not exist
- ``query``: the filters and the order of a project's runs
- ``charts``: a metric's history as SVG
- ``media``: a run's tables, confusion matrices and precision-recall curves
- ``compare``: the runs of a project side by side
- ``page``: the pages; ``app`` puts everything together
"""
