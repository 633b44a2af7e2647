"""All 10 nearest neighbours by FAISS: python neighbours.py LISTS PROBES VECTORS.npy OUT.

LISTS 0 is the exact index. OUT gets one line of JSON: CPU seconds, and each vector's neighbours.
"""

import json
import sys
import time
from pathlib import Path

import faiss
import numpy as np

lists, probes = map(int, sys.argv[1:3])
faiss.omp_set_num_threads(1)
vectors = np.load(sys.argv[3])
start = time.process_time()
index = faiss.IndexFlatIP(vectors.shape[1])
if lists:
    index = faiss.IndexIVFFlat(index, vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.nprobe = probes
index.add(vectors)
places = index.search(vectors, 11)[1]
cpu = time.process_time() - start
near = [[p for p in row if p != own][:10] for own, row in enumerate(places.tolist())]
Path(sys.argv[4]).write_text(json.dumps({"cpu": cpu, "near": near}))
