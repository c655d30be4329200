"""The Lava processes, beside nothing else: Lava executes every module it finds next to a process."""
