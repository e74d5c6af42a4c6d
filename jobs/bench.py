from neurogrid.cli.job import main

main("bench")
