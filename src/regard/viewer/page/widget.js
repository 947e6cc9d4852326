// The page in a notebook: in a frame of its own, which reaches neither the notebook nor the network.

function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  frame.title = "Attention weights";
  frame.style.cssText = "width:100%;border:0";
  const fill = () => {
    frame.style.height = model.get("height");
    frame.srcdoc = model.get("page");
  };
  fill();
  model.on("change:page change:height", fill);
  el.append(frame);
  return () => model.off("change:page change:height", fill);
}

export default { render };
