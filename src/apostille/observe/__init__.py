"""Set-up of logs and metrics. What is measured is declared beside the code it measures."""
