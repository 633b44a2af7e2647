"""Rows and tables on a Ray cluster: the steps, the seeds and the files are those of one machine.

Ray places processes, starts them again and carries what they say to each other. Rows never pass
through the driver: a worker reads its rows from one Parquet part and writes the next one.
"""
