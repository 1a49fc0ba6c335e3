"""Pools of processes: one model, asked by each worker."""
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from joblib import Parallel, delayed
from ask import main
if __name__ == "__main__":
    model, bad = sys.argv[1], []
    for method in ("fork", "spawn", "forkserver"):
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool: bad += pool.map(main, [model] * 2)
    with ThreadPoolExecutor(2) as pool: bad += pool.map(main, [model])
    bad += Parallel(n_jobs=2)(delayed(main)(model) for _ in range(2))
    sys.exit(any(bad))
