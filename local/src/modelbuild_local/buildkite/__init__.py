"""A stand-in for Buildkite on one machine: Agent API, REST API and a build page, state in memory.

Everything happens on one event loop, so the state needs no locks: a request that changes it does so
between two awaits. Who knows what:

- ``definition``: what a pipeline may say; ``attributes``: what single attributes mean; ``pipeline``:
  reading it from JSON or YAML
- ``state``: the nouns that live here: Build, Step, Job, Agent, Annotation, Artifact
- ``expansion``: the jobs that a step makes (``if``, ``branches``, ``skip``, ``matrix``, ``parallelism``);
  ``conditions``: what decides that it makes none
- ``graph``: puts these into a build and works out what each one depends on
- ``scheduler``, ``concurrency``, ``retries``: pure functions from a build's state to what happens next;
  ``progress``: does it
- ``environment``: the variables a job runs with
- ``engine``: the operations that change the state
- ``agent_api``, ``artifact_api``, ``rest``, ``page``: HTTP in front of it; ``app`` puts them together
"""
