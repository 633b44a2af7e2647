"""Fine-tuning any transformers model as a reward model: data to a folder that servers load.

One objective is one loss (`losses`), one reading of the data (`examples`) and one head (`model`);
everything else is shared. `train.train_reward_model` is the way in.
"""
