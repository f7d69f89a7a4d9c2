"""The report on a trained model as people see it: the annotation, ``report.html``, and their pictures."""
