"""What happened to streams that did not complete: like records folded into incidents, in JSON and in sentences."""
