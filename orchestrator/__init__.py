"""Who runs the trials: planner, driver, workers, backends and the command line."""
