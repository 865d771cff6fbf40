"""The program that watches one attempt from beside: environment, resources, progress, a heartbeat.

A process of its own, because a driver or a file system that hangs must not keep the runner from its time limit.
"""
