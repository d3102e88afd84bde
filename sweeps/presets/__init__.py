"""Sweep files that ship with mutransfer; `mutransfer init` copies one."""
