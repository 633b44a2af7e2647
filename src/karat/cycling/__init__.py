"""cycle: a student trained on what was kept becomes the teacher of the next round."""
