"""A stand-in for Buildkite on one machine: Agent API, REST API and a build page, state in memory.

The server has one event loop, so the state needs no locks: a request changes it between two awaits. The
modules:

- ``definition``: the attributes of a pipeline; ``attributes``: the rules of single attributes; ``pipeline``:
  reads it from JSON or YAML
- ``state``: the data: Build, Step, Job, Agent, Annotation, Artifact
- ``expansion``: the jobs that a step makes (``if``, ``branches``, ``skip``, ``matrix``, ``parallelism``);
  ``conditions``: the context in which ``if`` and ``branches`` are evaluated
- ``graph``: adds the steps to a build and computes their dependencies
- ``scheduler``, ``concurrency``, ``retries``: pure functions from a build's state to what happens next;
  ``progress``: applies it
- ``environment``: the variables a job runs with
- ``engine``: the operations that change the state
- ``agent_api``, ``artifact_api``, ``rest``, ``page``: HTTP in front of it; ``app`` puts them together
"""
