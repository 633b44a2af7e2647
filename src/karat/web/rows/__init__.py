"""A run's rows for the dashboard: a million of them filtered, sorted and searched, never loaded.

files      which Parquet files hold them, and single rows out of those by their place
flat       a row's facts as plain columns
index      the sidecar file of those columns, beside the run, made once for each state of the run
keeper     when it is made, and by whom
asked      what a URL asks for
engine     the questions, put to the index
search     text, read from the rows themselves
lineage    the steps one row went through; `calls` what was asked for it
downloads  what was found, as files
"""
