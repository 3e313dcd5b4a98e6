"""Translators in the forms of other libraries: ONNX (``onnx_folder``) and CTranslate2
(``ctranslate2_folder``).
"""
