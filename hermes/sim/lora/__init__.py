"""LoRA adapters in the simulator: who may run together, what lies where, what it costs."""
