"""Many runs on the same rows: spec, scheduling, search, baselines, statistics, report."""
