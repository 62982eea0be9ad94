"""Files that others wrote: read within bounds, and as root only from those who may decide."""
