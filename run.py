from neuroprint.cli.application import run

if __name__ == "__main__":
    run()
