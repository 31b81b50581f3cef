//! Pages that a command serves on this machine.

use std::sync::Arc;

use tabpo_serve::{Server, Site, open_browser};

use crate::{
    error::{CliError, input_error},
    output::Context,
};

/// Starts to serve a site on a port of 127.0.0.1; any free one if none is given.
pub(crate) fn start(port: Option<u16>, site: Arc<dyn Site>) -> Result<Server, CliError> {
    Server::start(port, site).map_err(|error| {
        let hint = error.hint();
        input_error(error, hint)
    })
}

/// Says where a page is and opens it in the browser. Without a browser the address is all there is, even with `--quiet`.
pub(crate) fn show(server: &Server, context: &Context) {
    if open_browser(&server.url_once()) {
        context.say(format!("the page is at {}", server.url()));
    } else {
        context.warn(format!("no browser could be opened: the page is at {}", server.url()));
    }
}
