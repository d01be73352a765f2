"""The project's benchmarks: each module measures one capability beside its rival, in one run."""
