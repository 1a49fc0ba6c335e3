"""Everything that imports opentelemetry, lazily: spans, metrics, and the pipelines that send them."""
