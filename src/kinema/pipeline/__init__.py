"""From a request to a film: the condition, the pipeline, and the plan of what it costs."""
