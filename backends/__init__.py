"""Runtimes, one small file each; README.md says how to add one."""
