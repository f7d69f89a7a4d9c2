"""A stand-in for Buildkite on one machine: Agent API, REST API and a build page, state in memory.

Everything happens on one event loop, so the state needs no locks: a request that changes it does so
between two awaits. Who knows what:

- ``definition``: what a pipeline may say; ``pipeline``: reading it from JSON or YAML
- ``state``: the nouns that live here: Build, Step, Job, Agent, Annotation, Artifact
- ``graph``: puts parsed steps into a build and works out what each one depends on
- ``scheduler``: pure functions from a build's state to what happens next
- ``environment``: the variables a job runs with
- ``engine``: the operations that change the state
- ``agent_api``, ``artifact_api``, ``rest``, ``page``: HTTP in front of it; ``app`` puts them together
"""
