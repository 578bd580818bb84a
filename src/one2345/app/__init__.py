"""The page in a browser (`python -m one2345.app`) and the viewer of runs (`python -m one2345.app.viewer RUN`)."""
