"""How is a run watched: Weights & Biases, TensorBoard, CSV and pages of its own?"""
