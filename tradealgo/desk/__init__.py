"""JupyterLab as a cockpit: server extension, widgets, kill switch, panel."""
