"""What worker processes of a test do; apart, so that they import nothing else."""

import os


def answer(job: int) -> tuple[int, str]:
    """The square, and the threads that the environment gives; job 3 is killed."""
    if job == 3:
        os.kill(os.getpid(), 9)
    return job * job, os.environ["OMP_NUM_THREADS"]
