"""The command line from a checkout; installed, it is `cxr-jax`.

python main.py --config=configs/phantom.py --workdir=runs/phantom
"""

from cxr_jax.cli import main

if __name__ == "__main__":
    main()
