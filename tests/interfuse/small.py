"""A training that takes a second."""

SMALL = [
    *("data=manifest", "name=small", "d_model=16", "fusion.num_layers=1", "mixer.num_heads=2", "mixer.num_kv_heads=1"),
    *("tracker=[]", "data.samples_per_batch=4", "data.num_workers=0", "schedule.warmup_steps=1", "compute_threads=1"),
    *("trainer.log_every=1", "trainer.checkpoint_every=2", "data.tokenizer.vocab_size=290"),
]
