"""The measurements of sweep directories, gathered, and what they lack."""
