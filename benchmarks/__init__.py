"""Scripts that measure and fit; none of them is needed to run the engine."""
