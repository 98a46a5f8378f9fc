"""What everything stands on: errors, files, processes, memory."""
