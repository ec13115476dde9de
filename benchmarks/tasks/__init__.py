"""Results on real data, one file a data set: `python -m benchmarks.tasks NAME --data FOLDER`."""
