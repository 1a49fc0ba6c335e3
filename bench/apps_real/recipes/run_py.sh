#!/bin/bash
# DRIVER is a Python file, DRIVER_ARGS its first arguments, VENV_NAME where it runs; MODE is its last argument
. "$(dirname "$0")/lib.sh"; use_venv "$VENV_NAME"
export LITELLM_LOCAL_MODEL_COST_MAP=True HAYSTACK_TELEMETRY_ENABLED=False DSPY_CACHEDIR=$TMP/dspy
"${PREFIX[@]}" python "$DRIVER" $DRIVER_ARGS $MODE; rc=$?; echo "[exit $rc]"; exit $rc
