"""A stand-in for Buildkite on one machine: Agent API, REST API and a build page, state in memory.

The server has one event loop, so the state needs no locks: a request changes it between two awaits. The
modules:

- ``pipeline``: ``reader`` reads a pipeline from JSON or YAML, ``definition`` has the attributes of its steps,
  ``attributes`` the rules of single attributes; ``expansion``: the jobs that a step makes (``if``,
  ``branches``, ``skip``, ``matrix``, ``parallelism``); ``conditions``: the context in which ``if`` and
  ``branches`` are evaluated; ``graph`` adds the steps to a build and computes their dependencies
- ``state``: the data: Build, Step, Job, Agent, Annotation, Artifact
- ``scheduling``: ``scheduler``, ``concurrency`` and ``retries`` are pure functions from a build's state to
  what happens next; ``progress`` applies it
- ``environment``: the variables a job runs with
- ``engine``: what people and programs do with pipelines, builds and jobs; ``agents``: what agents do
- ``api`` and ``pages``: HTTP in front of it; ``app`` puts them together
"""
