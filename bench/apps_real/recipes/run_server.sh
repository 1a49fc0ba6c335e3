#!/bin/bash
# COMMAND is a server on port $P, ASKS what sse_client.py (or CLIENT) asks of it. VENV_NAME is where it runs.
. "$(dirname "$0")/lib.sh"; use_venv "$VENV_NAME"
export P=$(python -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])') TMP LITELLM_LOCAL_MODEL_COST_MAP=True
cd $HERE/drivers; eval "set -- $COMMAND"
"${PREFIX[@]}" "$@" >$TMP/app.log 2>&1 & APP_PID=$!
python ${CLIENT:-sse_client.py} $P ${N:-3} $(for ask in $ASKS; do echo $ask/$MODE; done); rc=$?
kill -TERM $APP_PID; wait $APP_PID 2>/dev/null; echo "[server exit $?]"; [ $rc = 2 ] && tail -20 $TMP/app.log; APP_PID=; echo "[exit $rc]"; exit $rc
