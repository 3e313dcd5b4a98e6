"""What the example scripts share: data, tokenizer, batches, training loop, scores, pictures.

The scripts import it before minitensor, which from then on is found in a plain checkout too.
"""

import sys
from pathlib import Path

_root = Path(__file__).resolve().parents[2]
if (_root / "minitensor").is_dir() and str(_root) not in sys.path:
    sys.path.insert(1, str(_root))  # behind the folder of the script
