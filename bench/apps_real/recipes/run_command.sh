#!/bin/bash
# COMMAND is what to run, in a directory of its own; SETUP is run before it, unobserved. Both may use $D (drivers),
# $MODE, $BASE and $TMP. VENV_NAME is where it runs.
. "$(dirname "$0")/lib.sh"; use_venv "$VENV_NAME"
export LITELLM_LOCAL_MODEL_COST_MAP=True D=$HERE/drivers MODE BASE TMP
mkdir "$TMP/work"; cd "$TMP/work"
[ -n "${SETUP:-}" ] && { bash -ec "$SETUP" >$TMP/setup.log 2>&1 || { cat $TMP/setup.log; exit 99; }; }
eval "set -- $COMMAND"
"${PREFIX[@]}" "$@" </dev/null; rc=$?; echo "[exit $rc]"; exit $rc
