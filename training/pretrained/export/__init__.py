"""Export a finished model for inference without torch (CTranslate2, ONNX Runtime), and translate with the export."""
