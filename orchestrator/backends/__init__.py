"""Where jobs run. A backend takes job ids and reports events; the driver decides everything else."""
