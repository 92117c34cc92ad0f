"""Becomes `tests/utils/test_configuration_utils.py`, which the suite imports and its archive leaves out."""

# Fields that every configuration has, each with a value other than its default: ConfigTester checks that they arrive.
config_common_kwargs = {
    "architectures": ["SomeModel"],
    "chunk_size_feed_forward": 3,
    "dtype": "float16",
    "id2label": {0: "no", 1: "yes", 2: "perhaps"},
    "label2id": {"no": 0, "yes": 1, "perhaps": 2},
    "output_attentions": False,
    "output_hidden_states": True,
    "problem_type": "regression",
    "return_dict": False,
}
