from one2345.app.command import run

if __name__ == "__main__":
    run()
