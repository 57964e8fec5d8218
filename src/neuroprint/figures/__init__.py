"""The pictures of a run and of a sweep: one file each, arrays or tables in, a Matplotlib figure or an HTML page out."""
