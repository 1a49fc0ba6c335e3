import sys
from celeryapp import ask
n, model = int(sys.argv[2]), sys.argv[3].rpartition("/")[2]
results = [ask.delay(model) for _ in range(n)]
bad = [result.get(timeout=60) for result in results]
print(bad); sys.exit(any(bad))
